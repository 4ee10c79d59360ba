"""What no hypervisor can tell: which branch a VM belongs to, and who works on it now."""
