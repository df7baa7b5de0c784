
entry	