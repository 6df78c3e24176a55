"""The statements, one module a table, one function a statement."""
