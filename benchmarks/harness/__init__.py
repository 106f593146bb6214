"""What all sections share: environments, the server, rounds, figures, and the page that shows them."""
