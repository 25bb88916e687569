"""A small exchange on the loopback: it invents a market, publishes it as archives and serves them."""
