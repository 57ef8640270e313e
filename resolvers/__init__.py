"""What the product does: plain async functions, context first. A read is four steps: ids, load, rules, present."""
