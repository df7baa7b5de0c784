"{"text": "hi"}*)
426ff9{"name":"A"}"{"role":"host"}0+:
kv@H€äÊ‘¯3Rnews:aZentry`hraB3d€	