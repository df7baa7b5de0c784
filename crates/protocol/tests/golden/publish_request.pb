

chat:room1{"text":"hi"}"entry(