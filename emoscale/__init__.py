"""Which neurons of a language model hold its emotion concepts, and does the model need them?"""

__version__ = "0.1.0"
