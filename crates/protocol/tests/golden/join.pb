
)
426ff9{"name":"A"}"{"role":"host"}