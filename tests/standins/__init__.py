"""Stand-ins for what a real study needs and a test can't download, and what runs the book on them.

`brain` writes a tree as NSD's data manual describes it, `diffusion` a folder of Stable Diffusion 1.4 of
reduced width, `judges` the networks of the published scores, small and with random weights. `study` puts them
together with a file of settings, and `runs` runs chapters and data scripts on them. None of it has been
compared with the real files, which can't be had here.
"""
