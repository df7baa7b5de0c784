

chat:room1e.y.J"
1:2:ab	
entry	*old