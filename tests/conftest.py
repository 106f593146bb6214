import os

# LiteLLM reads it when it is imported: no test waits for a price list from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
