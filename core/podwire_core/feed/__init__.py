"""Where objects come from: a feed turns a source into changes.

interface    what every feed promises            decode     documents → objects or errors
directory    a folder of manifests (inotify)     documents  bytes → documents, with bounds
"""
