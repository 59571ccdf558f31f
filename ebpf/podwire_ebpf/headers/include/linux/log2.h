/* Nothing: BCC has a log2 of its own. */
