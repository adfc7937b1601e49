"""What every protocol's samples pass on their way in: columns of points, the rules for them, the join with a commit."""
