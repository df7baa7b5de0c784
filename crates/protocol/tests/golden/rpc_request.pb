
{}getTime