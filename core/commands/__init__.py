"""The commands: parse options, call one function, print. `scripts/` and `tapevault` run them."""
