"""The miniature world: rendered scenes, a simulated cortex, and both written in NSD's layout.

`build.open_tree` is the door. Everything that comes out of it is simulated.
"""
