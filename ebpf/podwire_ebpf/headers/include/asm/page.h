/* Nothing: BCC asks for it, no program needs it. */
