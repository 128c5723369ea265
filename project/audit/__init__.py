"""A durable audit of the Python environment: is every installed file what its package says it is?"""
