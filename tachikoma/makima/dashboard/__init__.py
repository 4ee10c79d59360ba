"""The dashboard: pages over the server's API for browsers, and what they show of its own machine.

No build step and nothing from elsewhere: what is in `static/` is what browsers get.
"""
