// Words of the page, in each language.

export const words = {
  en: {},
  zh: {},
};
