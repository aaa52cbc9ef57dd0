"""The networks that can be trained, each a subclass of the field's own model; `registry` names them."""
