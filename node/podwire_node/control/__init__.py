"""What people ask a running agent, and its answers: JSON lines over a UNIX socket.

client   the commands' end: asks, reads answers    server   the agent's end, in threads
request  what a verb is given                      errands  questions that the loop answers
view     what verbs may look at                    options  how commands find their agent
errors   ControlError, a sentence for people       printable  answers that drive no terminal

client ─► {"verb": "observe", "last": 20}
       ◄─ {"heard": true}  at once; a client waits for no agent that does not say so
       ◄─ {…}              as many as there are, for as long as there are any
       ◄─ {"end": true}    or {"error": "a sentence"}; then the agent hangs up
"""
