
1:2:ab	
entry	