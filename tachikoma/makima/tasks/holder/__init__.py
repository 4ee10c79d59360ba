"""Keeps an agent where it runs: the program that outlives the daemon and every connection.

`serving` is its beginning. All of it is sent as one text to Python 3.9 or newer, without any
package of ours: `program` puts it together.
"""
