!"
chat:room1""{"text":"hi"}0+"
chat:room1*


426ff9"
chat:room12


426ff9'"%
chat:room1:Ðserver unsubscribe"B
1"
chat:room1J0
"R
6ff9"Z¹"b<