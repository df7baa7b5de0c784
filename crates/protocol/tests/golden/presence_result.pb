
1
6ff9)
426ff9{"name":"A"}"{"role":"host"}