"""The door for fleets: tasks from a server, over one WebSocket, into the VMs of this host."""
