"""Labelling prompts of the demo's own writing, each with the label that its made-up provider gives."""

from dataclasses import dataclass
from random import Random

SYSTEM = "You label texts. Answer with the label alone."

_THINGS = (
    "kettle", "desk lamp", "backpack", "keyboard", "rain jacket", "coffee grinder", "bicycle pump", "headset",
    "toaster", "yoga mat", "camping stove", "wall clock", "blender", "office chair", "power bank", "tea pot",
)  # fmt: skip
_OPINIONS = {
    "positive": (
        "does exactly what it should, and looks good doing it",
        "arrived early and has worked every day since",
        "is the best I have owned in ten years",
        "surprised me: light, sturdy and easy to clean",
        "was worth every cent; I ordered a second one for my sister",
    ),
    "negative": (
        "broke on the second day, and nobody answers my mails",
        "is much smaller than in the picture and smells of glue",
        "makes a noise that the whole house can hear",
        "came without a manual and with a screw missing",
        "went back within an hour; the switch does not even click",
    ),
    "neutral": (
        "came in a brown box and weighs about a kilo",
        "is the grey one; it stands in the cellar for now",
        "replaces the one we had, which was of the same make",
    ),
}
_REPLIES = (
    "I have had it for {n} weeks.", "Bought on the {n}th.", "My family of {n} uses it.", "Order {n}, paid by card.",
)  # fmt: skip
_TICKETS = {
    "billing": (
        "I was charged twice for invoice {n}",
        "Where do I change the card that pays for seat {n}?",
        "The receipt for order {n} names the wrong company",
    ),
    "shipping": (
        "Parcel {n} has been in the same depot since Monday",
        "Can order {n} go to the neighbour instead?",
        "Only one of the two boxes of order {n} came",
    ),
    "account": (
        "The reset link in mail {n} has expired before it arrived",
        "Please remove user {n}, who has left us",
        "My second factor is on the phone that I lost; ticket {n} says nothing",
    ),
    "bug": (
        "The export stops at row {n} and shows an empty page",
        "Search for {n} finds nothing, although it is on the screen",
        "Since the update the app closes whenever I open page {n}",
    ),
}
_GREETINGS = ("Hello,", "Good morning,", "Dear team,", "Hi there,")
_UNITS = (
    ("kilometres", "metres", 1_000),
    ("hours", "minutes", 60),
    ("kilograms", "grams", 1_000),
    ("dozens", "pieces", 12),
    ("weeks", "days", 7),
    ("metres", "centimetres", 100),
)


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt, and the label that is right."""

    prompt: str
    label: str


def tasks(number: int, seed: int = 1) -> list[Task]:
    """That many different kinds of labelling, in turn; the same for the same seed."""
    rng = Random(seed)  # noqa: S311  variety, not secrecy
    makers = (_review, _ticket, _conversion)
    return [makers[index % len(makers)](rng) for index in range(number)]


def _review(rng: Random) -> Task:
    label = rng.choice(list(_OPINIONS))
    opinion = f"The {rng.choice(_THINGS)} {rng.choice(_OPINIONS[label])}."
    extra = rng.choice(_REPLIES).format(n=rng.randint(3, 28))
    return Task(f"Is this product review positive, negative or neutral?\n\n{opinion} {extra}", label)


def _ticket(rng: Random) -> Task:
    label = rng.choice(list(_TICKETS))
    text = rng.choice(_TICKETS[label]).format(n=rng.randint(1_000, 9_999))
    queues = ", ".join(sorted(_TICKETS))
    return Task(f"Which queue does this ticket belong to: {queues}?\n\n{rng.choice(_GREETINGS)} {text}.", label)


def _conversion(rng: Random) -> Task:
    large, small, factor = rng.choice(_UNITS)
    amount = rng.randint(2, 90)
    return Task(f"How many {small} are {amount} {large}? Answer with the number.", f"{amount * factor}")
