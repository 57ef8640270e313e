"""Every line of SQL and every Redis command. One function is one statement; a list of keys in, a mapping out."""
