"""The slim HTTP layer: parse, authorise, start a workflow or run one local transaction, render."""
