"""QEMU on Linux: direct kernel boot, qcow2 overlays, virtiofs, guest agent, QMP."""
