

chat:room18ÿÿÿÿÿÿÿÿÿBaB3dH