"""The nouns: values and pure functions over them. Imports nothing else of Kith."""
