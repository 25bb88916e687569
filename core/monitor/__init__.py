"""What a person sees of a run: `View` says what there is to see, `panels` draw it, `Display` shows it and hears keys.

A run shows its own view (`Watch`) and writes it to a small file about once a second; another process reads that file
(`state`) and shows the very same panels. Nothing here can make a run fail or wait.
"""
