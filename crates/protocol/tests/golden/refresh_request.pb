
e.y.J