"""tachikoma: a virtual machine of its own for every git branch, made for coding agents."""
