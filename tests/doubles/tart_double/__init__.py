"""A double of Tart: its command line, outputs, exit codes and locks, with QEMU below.

It keeps to ``tests/contract/tart-cli.json``. VMs live in ``$TART_HOME`` as Tart keeps them; their
state is the lock on ``config.json``. ``tart run`` boots a real VM through ``tachikoma.hypervisor
.qemu``, or with ``"guest": "pretended"`` in ``$TART_HOME/double/settings.json`` holds the lock and
lets guest commands run on the host. The same file asks for trouble:

* ``faults``: ``{"run": "vm_limit"}``, an error of the contract for the next call of a command
* ``deaf``: the guest has no agent; ``agent_wait_s``: how long Tart waits for it
* ``no_ip``: no resolver knows an address; ``noise``: garbage collection fails on the side
* ``version``: what ``--version`` says

What it cannot be true to: a guest's address is one of the host's loopback (``127.64.0.0/10``).
"""
