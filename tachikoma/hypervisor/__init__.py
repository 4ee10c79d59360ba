"""The engines that run VMs: the contract, the real ones and the one in memory."""
