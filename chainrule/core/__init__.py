"""The engine: tensors, recipes, the table of backward functions, the sort, backprop. It knows no operation by name.

Read in this order: `table.py`, `grad_mode.py`, `recipe.py`, `tensor.py`, `forward.py`, `views.py`, `sort.py`,
`backprop.py`.
"""
