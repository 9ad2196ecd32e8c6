"""A node of a cell on an accelerator: many experts in each call, so that the host does not keep it waiting."""
