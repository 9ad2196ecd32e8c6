"""What can be searched: forecasters, operations, cells, genotypes and their networks."""
