"""No secret leaves a process: unique values in every slot, then a search through everything."""
