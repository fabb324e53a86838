"""What all commands share: configuration, errors, types, folders."""
