"""Keeps workers alive, and Claude Code at work in VMs when nobody looks: `tachikoma daemon`."""
