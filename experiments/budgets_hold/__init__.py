"""Does a network that the search accepts keep its budget when it is measured again, and how much is left unused?"""
