"""What the task `table` is made of: files and datasets read, columns checked, classes decided. No plugin by itself.

reading.py        which source it is: a file, a folder or a dataset of the hub; what it is identified by
content.py        what is in a file: decompressed, decoded
files.py          the columns of a file, by its format
columns.py        the columns of the rows in use, each value checked
classes.py        which values are classes, and which rows have none
conversations.py  lists of messages, and pairs of answers behind a prompt
"""
