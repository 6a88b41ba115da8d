package lumin

// AnyKeyring returns a keyring with secrets that NewKeyring may refuse.
func AnyKeyring(secrets ...string) *Keyring {
	k := &Keyring{}
	for _, secret := range secrets {
		k.add(secret)
	}
	return k
}
