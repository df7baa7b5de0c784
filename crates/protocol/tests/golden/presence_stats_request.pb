

chat:room1