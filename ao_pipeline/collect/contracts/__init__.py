"""What we rely on in each upstream's answers: narrow JSON Schemas of the fields that are read, nothing else."""
