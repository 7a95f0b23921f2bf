"""The command line, one module for each verb. Importing it does not import torch."""
